"""What keeps the gateway running and in view: logging, secrets, the control socket, exit codes, supervision."""
