"""The round trip with Label Studio: a server, tasks that people correct, and what they did with them."""
