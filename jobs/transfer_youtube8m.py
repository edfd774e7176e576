"""Supervision transfer (Temporal 3D ConvNets, section 3.2): a 3D network learns from a 2D one without labels."""

from pipeline.commands.transfer import main

if __name__ == "__main__":
    main()
