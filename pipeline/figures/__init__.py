"""Pictures: charts of curves and tables, animations of clips, what a network looks at laid over them."""
