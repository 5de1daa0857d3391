"""Programs for those who work on this repository; nothing that runs imports them."""
