"""Export a trained network as torch.export program and ONNX, checked against the original on your clips."""

from pipeline.commands.export import main

if __name__ == "__main__":
    main()
