"""What the tests share: places, drawn data, damages, stand-ins for devices."""
