"""Export models to ONNX and torch.export files, compare the files with PyTorch, and load them again."""
