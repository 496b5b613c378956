"""What a network is worth: its measures on labelled cases, their summary, and their files."""
