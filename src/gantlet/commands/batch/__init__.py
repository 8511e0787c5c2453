"""What batch a training needs, and whether noise or instability holds it back."""
