"""The gateway as a service of systemd: what it tells its manager, and when it deserves to live on."""
