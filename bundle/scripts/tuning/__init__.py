"""Tuning of the training's hyperparameters: trials, studies, and what is made of them."""
