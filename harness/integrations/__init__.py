"""Other people's training loops, watched with this package's rules; libraries are imported when used."""
