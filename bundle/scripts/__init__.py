"""The parts of the bundle that its JSON configs name: networks, losses, engines, data, evaluation."""
