"""Linear, with names of the student's own, any attribute there may be, and only the gradients that are asked for."""


def forward(inputs, weight, bias=None, **attrs):
    out = inputs @ weight.T
    return out if bias is None else out + bias, (inputs, weight)


def backward(dout, saved, needs, **attrs):
    inputs, weight = saved
    flat_in, flat_out = inputs.reshape(-1, inputs.shape[-1]), dout.reshape(-1, dout.shape[-1])
    return (
        dout @ weight if needs[0] else None,
        flat_out.T @ flat_in if needs[1] else None,
        flat_out.sum(0) if needs[2] else None,
    )
