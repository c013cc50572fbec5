"""What people bring, made hostile: names, images, folders, settings and results by the thousand."""
