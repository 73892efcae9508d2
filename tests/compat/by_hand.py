"""What several tests compute in plain Python."""


def sample(plane: list[list[float]], y: float, x: float) -> float:
    """Bilinear interpolation as a sum of hat functions over all cells."""
    height, width = len(plane), len(plane[0])
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    return sum(
        plane[i][j] * max(0, 1 - abs(y - i)) * max(0, 1 - abs(x - j))
        for i in range(height)
        for j in range(width)
    )
