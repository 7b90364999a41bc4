"""Training, evaluation and publishing of octhub's models."""
