"""What a student of ultralytics is taught with, without the library."""
