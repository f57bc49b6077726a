"""A recurrent network that reads a handwritten digit row by row, from the top."""

from torch import Tensor, nn


class RowReader(nn.Module):
    """[B, 1, rows, columns] to [B, out_features]: what an LSTM knows after the last row."""

    def __init__(
        self, out_features: int, columns: int = 8, width: int = 64, dropout: float = 0.25
    ) -> None:
        super().__init__()
        self.lstm = nn.LSTM(columns, width, batch_first=True)
        self.out = nn.Sequential(
            nn.BatchNorm1d(width), nn.Dropout(dropout), nn.Linear(width, width // 2), nn.ReLU(),
            nn.Dropout(dropout), nn.Linear(width // 2, out_features),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(x.squeeze(1))
        return self.out(states[:, -1])
