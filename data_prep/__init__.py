"""Builds slice datasets for training from OpenNeuro, from BIDS folders and from a phantom."""
