"""Several inputs, several outputs, two kinds of merge: what Keras calls its functional API, in plain minidl.

    python models/functional.py

    image [1,8,8] ---- conv1 --+-- conv2 --(+)-- pool --+
                               |            |           |
                               +------------+       (concat)-- shared --+-- digit   0 to 9
                                   add                  |               |
    profile [16] ------------------- dense -------------+               +-- odd     even or odd

    Keras                                         here
    a = Input((8, 8, 1)); b = Input((16,))        def forward(self, image, profile): the inputs are its arguments
    x = Dense(32, activation="relu")(b)           x = minidl.relu(self.dense(profile)): layers are made in __init__
    add([x, y])                                   x + y
    concatenate([x, y])                           minidl.concat([x, y], axis=1)
    Model(inputs=[a, b], outputs=[c, d])          return digit, odd: a tuple
    compile(loss=[...], loss_weights=[1, 0.3])    loss = 1.0 * loss_of_digit + 0.3 * loss_of_odd
    fit(...)                                      the loop in `train`

Nothing declares the graph: the tape notes which op made what while `forward` runs. So one backward from the weighted sum
reaches every layer. What feeds both outputs gets the sum of both gradients; a merge by concat cuts its gradient where it had
joined; a merge by add hands it on whole to both sides. GoogLeNet's auxiliary heads (inception.py) train in the same way.
"""

import minidl
from minidl import data, nn, optim

WEIGHTS = (1.0, 0.3)  # of the digit's loss and of even-or-odd's


class TwoInTwoOut(nn.Module):
    """An image and a profile of its ink in; scores of the digit, and of even or odd, out."""

    def __init__(self):
        self.conv1 = nn.Conv2d(1, 8, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, kernel_size=3, padding=1)
        self.dense = nn.Linear(16, 32)
        self.shared = nn.Linear(8 * 4 * 4 + 32, 64)
        self.digit = nn.Linear(64, 10)
        self.odd = nn.Linear(64, 2)

    def forward(self, image, profile):
        """[N, 1, 8, 8] and [N, 16] to scores [N, 10] and [N, 2]."""
        x = minidl.relu(self.conv1(image))
        x = minidl.relu(x + self.conv2(x))  # merge by add: both are [N, 8, 8, 8]
        x = minidl.max_pool2d(x, 2).flatten(1)  # [N, 8 * 4 * 4]
        y = minidl.relu(self.dense(profile))  # [N, 32]
        z = minidl.relu(self.shared(minidl.concat([x, y], axis=1)))  # merge by concat: side by side
        return self.digit(z), self.odd(z)


def profile_of(images):
    """The second input: the mean ink of every row and column, [N, 1, 8, 8] -> [N, 16]."""
    return minidl.concat([images.mean(axis=(1, 3)), images.mean(axis=(1, 2))], axis=1)


def loss_of(outputs, labels, weights=WEIGHTS):
    """One loss for each output, and their weighted sum."""
    digit, odd = outputs
    return weights[0] * minidl.softmax_cross_entropy(digit, labels) + weights[1] * minidl.softmax_cross_entropy(odd, labels % 2)


def train(model, dataset, epochs=5, weights=WEIGHTS):
    """The loop, by hand."""
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(epochs):
        for images, labels in data.DataLoader(dataset, batch_size=32, shuffle=True):
            loss = loss_of(model(images, profile_of(images)), labels, weights)
            model.zero_grad()
            loss.backward()
            optimizer.step()
    return model


def accuracies(model, dataset):
    """How often each output is right: (digit, even or odd)."""
    ((images, labels),) = data.DataLoader(dataset, batch_size=len(dataset))
    with minidl.no_grad():
        digit, odd = model(images, profile_of(images))
    return (digit.numpy().argmax(axis=1) == labels).mean(), (odd.numpy().argmax(axis=1) == labels % 2).mean()


def main():
    """Train on the digits, and print both accuracies on images that the training has not seen."""
    minidl.manual_seed(0)
    digits = data.digits()
    digit, odd = accuracies(train(TwoInTwoOut(), digits.train), digits.test)
    print(f"digit {digit:.1%}   even or odd {odd:.1%}")


if __name__ == "__main__":
    main()
