"""SIMD vectors of float32 as a Numba type, so that a kernel reads like its equation and still fills the vector units.

`load(array, offset)` reads LANES neighbouring elements of a flat float32 array, and `store` writes them back. Vectors
can be added, subtracted, multiplied and divided by each other and by scalars. LLVM maps them to the widest registers of
the machine, and splits vectors that are wider. Neither bounds nor NaN are checked.
"""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, overload, register_model

_TRIPLE, _, _FEATURES = cpu_target.target_context.codegen().magic_tuple()
X86 = _TRIPLE.startswith("x86_64")
AVX512 = "+avx512f" in _FEATURES
LANES = 16 if AVX512 else 8 if "+avx2" in _FEATURES else 4
_FLAGS = ("nnan", "ninf", "nsz", "contract")  # a * b + c becomes one instruction
_FLOAT, _INT = ir.FloatType(), ir.IntType(32)


class Vector(types.Type):
    """Numba type of a vector of `lanes` float32."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(name=f"Vector({lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, ir.VectorType(_FLOAT, kind.lanes))


WIDE = Vector(LANES)
TAPS = Vector(16)  # four pixels with four values each, for the cubic interpolation


def _splat(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    if isinstance(value.type, ir.VectorType):
        return value
    kind = ir.VectorType(value.type, lanes)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_INT, 0))
    zeros = ir.Constant(ir.VectorType(_INT, lanes), [0] * lanes)
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros)


def _pointer(
    context: Any, builder: ir.IRBuilder, array: Any, value: ir.Value, offset: ir.Value, lanes: int
) -> ir.Value:
    data = context.make_array(array)(context, builder, value).data
    return builder.bitcast(builder.gep(data, [offset]), ir.VectorType(_FLOAT, lanes).as_pointer())


def _loader(kind: Vector) -> Callable[..., Any]:
    @intrinsic
    def load(typing: Any, array: Any, offset: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = _pointer(context, builder, array, args[0], args[1], kind.lanes)
            return builder.load(pointer, align=4)

        return kind(array, types.intp), generate

    return load


load = _loader(WIDE)
load_taps = _loader(TAPS)


@intrinsic
def store(typing: Any, array: Any, offset: Any, vector: Any) -> Any:
    """Write a vector to array[offset : offset + lanes]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, array, args[0], args[1], vector.lanes)
        builder.store(args[2], pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def prefetch(typing: Any, array: Any, offset: Any) -> Any:
    """Prefetch the cache line of array[offset], which may be out of bounds."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(array)(context, builder, args[0]).data
        pointer = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, _INT, _INT, _INT])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        to_read, second_cache, data_not_code = (ir.Constant(_INT, value) for value in (0, 2, 1))
        builder.call(function, [pointer, to_read, second_cache, data_not_code])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def splat(typing: Any, value: Any) -> Any:
    """Return a vector with the same float32 in all LANES lanes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _splat(builder, args[0], LANES)

    return WIDE(types.float32), generate


def _arithmetic(symbol: Callable[..., Any], emit: Callable[..., ir.Value]) -> None:
    """Teach Numba an operator between vectors, and between a vector and a float32."""

    @intrinsic
    def compute(typing: Any, left: Any, right: Any) -> Any:
        kind = left if isinstance(left, Vector) else right

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return emit(builder, *(_splat(builder, value, kind.lanes) for value in args))

        return kind(*(side if isinstance(side, Vector) else types.float32 for side in (left, right))), generate

    @overload(symbol, strict=False)
    def choose(left: Any, right: Any) -> Any:
        if isinstance(left, Vector) or isinstance(right, Vector):
            return lambda left, right: compute(left, right)
        return None


def _least(builder: ir.IRBuilder, left: ir.Value, right: ir.Value) -> ir.Value:
    return builder.select(builder.fcmp_ordered("<", left, right), left, right)


def _greatest(builder: ir.IRBuilder, left: ir.Value, right: ir.Value) -> ir.Value:
    return builder.select(builder.fcmp_ordered(">", left, right), left, right)


def least(left: Any, right: Any) -> Any:
    """Return the smaller of two vectors, lane by lane."""


def greatest(left: Any, right: Any) -> Any:
    """Return the greater of two vectors, lane by lane."""


_arithmetic(operator.add, lambda builder, left, right: builder.fadd(left, right, flags=_FLAGS))
_arithmetic(operator.sub, lambda builder, left, right: builder.fsub(left, right, flags=_FLAGS))
_arithmetic(operator.mul, lambda builder, left, right: builder.fmul(left, right, flags=_FLAGS))
_arithmetic(operator.truediv, lambda builder, left, right: builder.fdiv(left, right, flags=_FLAGS))
_arithmetic(least, _least)
_arithmetic(greatest, _greatest)


@intrinsic
def product(typing: Any, left: Any, right: Any) -> Any:
    """Return the product of two vectors, rounded on its own even if it is a term of a sum."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fmul(*args)

    return left(left, right), generate


def _call(builder: ir.IRBuilder, name: str, value: ir.Value) -> ir.Value:
    """Call an LLVM function from vector to vector."""
    kind = ir.FunctionType(value.type, [value.type])
    return builder.call(builder.module.declare_intrinsic(f"{name}.v{value.type.count}f32", fnty=kind), [value])


@intrinsic
def root_estimate(typing: Any, vector: Any) -> Any:
    """Return the square root of positive numbers: correct to 14 bits with AVX-512's instruction for it, else exact."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (value,) = args
        if not (AVX512 and vector.lanes == 16):
            return _call(builder, "llvm.sqrt", value)
        mask = ir.IntType(16)
        kind = ir.FunctionType(value.type, [value.type, value.type, mask])
        function = builder.module.declare_intrinsic("llvm.x86.avx512.rsqrt14.ps.512", fnty=kind)
        estimate = builder.call(function, [value, ir.Constant(value.type, None), ir.Constant(mask, -1)])
        return builder.fmul(value, estimate, flags=_FLAGS)

    return vector(vector), generate


@intrinsic
def clamp(typing: Any, vector: Any, bound: Any) -> Any:
    """Limit each lane of a vector to [-bound, bound], where bound is a float32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, limit = args[0], _splat(builder, args[1], vector.lanes)
        if not (AVX512 and vector.lanes == 16):
            return _least(builder, _greatest(builder, value, builder.fneg(limit)), limit)
        mask = ir.IntType(16)
        kind = ir.FunctionType(value.type, [value.type, value.type, _INT, value.type, mask, _INT])
        function = builder.module.declare_intrinsic("llvm.x86.avx512.mask.range.ps.512", fnty=kind)
        smaller_by_size = ir.Constant(_INT, 2)
        nothing, all_lanes, rounding = ir.Constant(value.type, None), ir.Constant(mask, -1), ir.Constant(_INT, 4)
        return builder.call(function, [value, limit, smaller_by_size, nothing, all_lanes, rounding])

    return vector(vector, types.float32), generate


def _moved(start: int) -> Callable[..., Any]:
    @intrinsic
    def moved(typing: Any, left: Any, right: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            order = ir.Constant(ir.VectorType(_INT, left.lanes), list(range(start, start + left.lanes)))
            return builder.shuffle_vector(args[0], args[1], order)

        return left(left, right), generate

    return moved


from_left = _moved(LANES - 1)  # from two neighbouring vectors, the left neighbour of each lane of the second
from_right = _moved(1)  # and the right neighbour of each lane of the first


@intrinsic
def without_lane(typing: Any, vector: Any, lane: Any) -> Any:
    """Return the vector with zero in one lane."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zero = ir.Constant(_FLOAT, 0.0)
        return builder.insert_element(args[0], zero, builder.trunc(args[1], _INT))

    return vector(vector, types.intp), generate


@intrinsic
def total(typing: Any, vector: Any) -> Any:
    """Return the sum of the lanes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_FLOAT, [_FLOAT, args[0].type])
        name = f"llvm.vector.reduce.fadd.v{vector.lanes}f32"
        function = builder.module.declare_intrinsic(name, fnty=kind)
        return builder.call(function, [ir.Constant(_FLOAT, 0.0), args[0]], fastmath=("fast",))

    return types.float32(vector), generate


@intrinsic
def quarters(typing: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Regroup four vectors of taps by quarters: all first quarters, then all second, third and fourth quarters."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def choose(left: Any, right: Any, *quarters: int) -> Any:
            order = [4 * quarter + lane for quarter in quarters for lane in range(4)]
            return builder.shuffle_vector(left, right, ir.Constant(ir.VectorType(_INT, 16), order))

        halves = [[choose(*pair, at, at + 1, at + 4, at + 5) for pair in (args[:2], args[2:])] for at in (0, 2)]
        chosen = [choose(*half, at, at + 2, at + 4, at + 6) for half in halves for at in (0, 1)]
        return context.make_tuple(builder, signature.return_type, chosen)

    return types.UniTuple(TAPS, 4)(a, b, c, d), generate


@intrinsic
def load_every_fourth(typing: Any, array: Any, offset: Any) -> Any:
    """Load three vectors from rows of four: elements 0, 4, 8..., 1, 5, 9... and 2, 6, 10... after the offset."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, array, args[0], args[1], 4 * LANES)
        rows = builder.load(pointer, align=4)
        lanes = ir.VectorType(_INT, LANES)
        columns = [
            builder.shuffle_vector(rows, rows, ir.Constant(lanes, [4 * lane + column for lane in range(LANES)]))
            for column in range(3)
        ]
        return context.make_tuple(builder, signature.return_type, columns)

    return types.UniTuple(WIDE, 3)(array, types.intp), generate


@intrinsic
def load_neighbours(typing: Any, array: Any, places: Any, offset: Any) -> Any:
    """Load two vectors from a float32 array: the elements at LANES places, and the elements right after them.

    places: int32 array, read from the offset on; the places ascend, and the last is less than 2 LANES after the first.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(array)(context, builder, args[0]).data
        first = builder.gep(context.make_array(places)(context, builder, args[1]).data, [args[2]])
        whole = ir.VectorType(_INT, LANES)
        at = builder.load(builder.bitcast(first, whole.as_pointer()), align=4)
        lanes = [ir.Constant(_INT, lane) for lane in range(LANES)]
        found = []
        for behind in (0, 1):
            from_here = builder.gep(data, [ir.Constant(_INT, behind)])
            vector = ir.Constant(ir.VectorType(_FLOAT, LANES), ir.Undefined)
            if AVX512:
                start = builder.load(first)
                near = builder.bitcast(builder.gep(from_here, [start]), vector.type.as_pointer())
                two = [builder.load(builder.gep(near, [lanes[half]]), align=4) for half in (0, 1)]
                kind = ir.FunctionType(vector.type, [vector.type, whole, vector.type])
                function = builder.module.declare_intrinsic("llvm.x86.avx512.vpermi2var.ps.512", fnty=kind)
                vector = builder.call(function, [two[0], builder.sub(at, _splat(builder, start, LANES)), two[1]])
            else:
                for lane in lanes:
                    element = builder.load(builder.gep(from_here, [builder.extract_element(at, lane)]))
                    vector = builder.insert_element(vector, element, lane)
            found.append(vector)
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(WIDE, 2)(array, places, types.intp), generate


@intrinsic
def floor(typing: Any, vector: Any) -> Any:
    """Return the greatest whole number that is not above each lane."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _call(builder, "llvm.floor", args[0])

    return vector(vector), generate


@intrinsic
def store_places(typing: Any, array: Any, offset: Any, rows: Any, columns: Any, pitch: Any) -> Any:
    """Write rows * pitch + 4 * columns to an int32 array; rows and columns are vectors of whole numbers."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = ir.VectorType(_INT, rows.lanes)
        row, column = (builder.fptosi(value, whole) for value in args[2:4])
        step = _splat(builder, builder.trunc(args[4], _INT), rows.lanes)
        places = builder.add(builder.mul(row, step), builder.shl(column, ir.Constant(whole, [2] * rows.lanes)))
        data = context.make_array(array)(context, builder, args[0]).data
        builder.store(places, builder.bitcast(builder.gep(data, [args[1]]), whole.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, rows, columns, types.intp), generate


@intrinsic
def store_every_fourth(typing: Any, array: Any, offset: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Write four vectors as rows of four: a[0], b[0], c[0], d[0], a[1]... from the offset on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def both(left: Any, right: Any) -> Any:
            order = ir.Constant(ir.VectorType(_INT, 2 * left.type.count), list(range(2 * left.type.count)))
            return builder.shuffle_vector(left, right, order)

        planes = both(both(args[2], args[3]), both(args[4], args[5]))
        order = [LANES * plane + lane for lane in range(LANES) for plane in range(4)]
        rows = builder.shuffle_vector(planes, planes, ir.Constant(ir.VectorType(_INT, 4 * LANES), order))
        builder.store(rows, _pointer(context, builder, array, args[0], args[1], 4 * LANES), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, a, b, c, d), generate


@intrinsic
def load_spread(typing: Any, array: Any, offset: Any) -> Any:
    """Load four float32 and repeat each four times, as a vector of taps."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        four = builder.load(_pointer(context, builder, array, args[0], args[1], 4), align=4)
        order = ir.Constant(ir.VectorType(_INT, 16), [lane // 4 for lane in range(16)])
        return builder.shuffle_vector(four, four, order)

    return TAPS(array, types.intp), generate


@intrinsic
def load_one(typing: Any, array: Any, offset: Any) -> Any:
    """Load one float32 and repeat it sixteen times, as a vector of taps."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(array)(context, builder, args[0]).data
        return _splat(builder, builder.load(builder.gep(data, [args[1]])), 16)

    return TAPS(array, types.intp), generate


@intrinsic
def load_place(typing: Any, array: Any, offset: Any) -> Any:
    """Load one int32 as an offset."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(array)(context, builder, args[0]).data
        return builder.sext(builder.load(builder.gep(data, [args[1]])), ir.IntType(64))

    return types.intp(array, types.intp), generate


@intrinsic
def float_mode(typing: Any, mode: Any) -> Any:
    """Set the mode of SSE arithmetic and return the previous one; do nothing on other machines."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not X86:
            return args[0]
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer])
        places = [cgutils.alloca_once(builder, _INT) for _ in range(2)]
        builder.store(args[0], places[1])
        for name, place in zip(("st", "ld"), places, strict=True):
            function = builder.module.declare_intrinsic(f"llvm.x86.sse.{name}mxcsr", fnty=kind)
            builder.call(function, [builder.bitcast(place, pointer)])
        return builder.load(places[0])

    return types.uint32(types.uint32), generate


@intrinsic
def lane_numbers(typing: Any) -> Any:
    """Return the vector 0, 1, 2... LANES - 1."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(ir.VectorType(_FLOAT, LANES), [float(lane) for lane in range(LANES)])

    return WIDE(), generate


NO_DENORMALS = np.uint32(0x9FC0)  # MXCSR: flush to zero, take denormals for zero, no exceptions
ZERO = np.float32(0)
