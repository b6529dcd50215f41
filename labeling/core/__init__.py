"""What every room speaks; imports nothing above itself."""
