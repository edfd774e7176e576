"""Fine-tune a network on another data set."""

from pipeline.commands.finetune import main

if __name__ == "__main__":
    main()
