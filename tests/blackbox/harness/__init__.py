"""What the black-box tests share: processes, the simulated upstream, the gateway, exact money."""
