"""Isolated Identity Adapter (paper section 4.4): low-rank residuals, their files, their late-step gate."""
