"""Videos and streams as sources of photos: frames picked by change, and objects followed from frame to frame."""
