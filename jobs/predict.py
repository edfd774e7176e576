"""Name the actions in videos with a registered model."""

from pipeline.commands.predict import main

if __name__ == "__main__":
    main()
