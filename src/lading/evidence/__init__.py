"""What stands against a change that rewrites everything alike: signatures over manifests, and whose they are."""
