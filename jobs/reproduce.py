"""Try what the papers claim, at small size, on rendered clips: some half an hour a seed on two cores, then a report."""

from pipeline.commands.reproduce import main

if __name__ == "__main__":
    main()
