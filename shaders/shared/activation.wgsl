// The activations of feed-forward layers and their slopes; the constant decides, and the other ways are compiled away.

const ACTIVATION: u32 = 0u;                                      // 0: SiLU, 1: GELU by tanh, 2: GELU, 3: ReLU, 4: tanh

fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(-x));
}

// x times this is GELU by tanh: (1 + tanh(u)) / 2 = sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3).
fn gelu_gate(x: f32) -> f32 {
    return sigmoid(1.5957691216 * (x + 0.044715 * x * x * x));
}

// The standard normal distribution's (1 + erf(x / sqrt(2))) / 2, to 4e-6 of itself: see kernels/src/activation.rs.
fn normal(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.30405592 * abs(x));
    let low = ((0.036886964 * t - 0.15533175) * t + 0.19211732) * t - 0.043121185;
    let p = ((((low * t + 0.12356755) * t + 0.10242865) * t + 0.12219572) * t + 0.12125675) * t;
    let upper = p * exp(-0.5 * x * x);
    return select(1.0 - upper, upper, x < 0.0);
}

fn activation(x: f32) -> f32 {
    if ACTIVATION == 0u {
        return x * sigmoid(x);
    }
    if ACTIVATION == 1u {
        return x * gelu_gate(x);
    }
    if ACTIVATION == 2u {
        return x * normal(x);
    }
    if ACTIVATION == 3u {
        return max(x, 0.0);
    }
    return tanh(clamp(x, -15.0, 15.0));                           // Some drivers overflow further out.
}

fn slope(x: f32) -> f32 {
    if ACTIVATION == 0u {
        let s = sigmoid(x);
        return s * (1.0 + x * (1.0 - s));
    }
    if ACTIVATION == 1u {
        let s = gelu_gate(x);
        return s * (1.0 + x * (1.0 - s) * 1.5957691216 * (1.0 + 0.134145 * x * x));
    }
    if ACTIVATION == 2u {
        return normal(x) + x * 0.3989422804 * exp(-0.5 * x * x);
    }
    if ACTIVATION == 3u {
        return select(0.0, 1.0, x > 0.0);
    }
    let e = exp(-2.0 * abs(x));                                   // 1 - tanh^2 has no digits left where tanh is almost 1.
    return 4.0 * e / ((1.0 + e) * (1.0 + e));
}
