"""Networks outside this package: as `torch.export` programs and as ONNX files, checked against the originals."""
