"""Models as files that other programs run: ONNX and torch.export, checked against PyTorch, and loaded again."""
