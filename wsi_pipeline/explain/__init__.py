"""Why a tile got its class: class activation maps, uncertainty, and pictures of both on fixed scales."""
