"""What people use every day: one room for each command."""
