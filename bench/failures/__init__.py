"""What happens when servers fail: endpoints that are made to, clients that count what they see of it."""
