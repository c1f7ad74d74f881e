"""Renderers: pictures, pages and text of facts that other packages computed. Import the module you need."""
