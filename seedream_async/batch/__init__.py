"""Many prompts from a file: run so that nothing paid for is lost, resumed, and looked at."""
