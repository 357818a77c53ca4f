"""What every room shares: messages, arrays, seeds, configuration, guards."""
