"""Test the claims of the papers at small size on rendered clips."""

from pipeline.commands.reproduce import main

if __name__ == "__main__":
    main()
