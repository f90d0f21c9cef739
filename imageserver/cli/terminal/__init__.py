"""What a person sees: colours and ticks on terminals only, a bar below the log, images where one shows them."""
