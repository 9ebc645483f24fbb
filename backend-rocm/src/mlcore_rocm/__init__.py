"""AMD's GPUs as devices of mlcore."""
