"""Pictures: charts of curves and tables, animations of clips, and class-activation maps over clips."""
