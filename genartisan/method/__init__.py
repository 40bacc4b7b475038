"""The paper's method: text, regions, patches, losses, objective, engine; and what is built on it."""
