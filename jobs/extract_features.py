"""Compute features of any amount of video with any network."""

from pipeline.commands.extract import main

if __name__ == "__main__":
    main()
