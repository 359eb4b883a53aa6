"""The method of the paper's section 4: reward tuning on videos that the user's own model samples from pure noise."""
