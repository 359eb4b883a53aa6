"""The original model: its clips, where they are kept, and how they are sampled."""
