using System.Buffers.Binary;

namespace Berth.Runtime.Seccomp;

/// <summary>
/// Classic BPF (linux/filter.h) written from the last instruction to the first: what is jumped to exists already, so one pass does.
/// Each method returns the place of what it wrote, for those that come before it. No instruction relies on the one after it.
/// </summary>
internal sealed class BpfWriter
{
    // linux/bpf_common.h: class, size and mode, or class, operation and source.
    internal const ushort LoadWord = 0x20, AndImmediate = 0x54, JumpAlways = 0x05, IfEqual = 0x15, IfGreater = 0x25, IfAtLeast = 0x35, ReturnValue = 0x06;

    // struct seccomp_data of linux/seccomp.h.
    internal const uint Number = 0, Architecture = 4;

    /// <summary>Offset of the lower half of an argument.</summary>
    internal static uint Argument(int index) => 16 + (8 * (uint)index);

    /// <summary>How far a conditional jump reaches (its offsets are bytes), with room for the two long jumps that may come between.</summary>
    private const int Reach = 250;

    private readonly List<(ushort Code, byte True, byte False, uint Value)> _reversed = [];
    private readonly Dictionary<uint, int> _returns = [];

    internal int Count => _reversed.Count;

    private int Add(ushort code, uint value, int jumpTrue = 0, int jumpFalse = 0)
    {
        _reversed.Add((code, checked((byte)jumpTrue), checked((byte)jumpFalse), value));
        return _reversed.Count - 1;
    }

    /// <summary>Instructions between the one written next and a place.</summary>
    private int Distance(int place) => _reversed.Count - place - 1;

    internal int Return(uint value)
    {
        if (_returns.TryGetValue(value, out var place) && Distance(place) < Reach / 2) return place;
        return _returns[value] = Add(ReturnValue, value);
    }

    /// <summary>A place from which to reach another.</summary>
    private int Near(int place)
    {
        if (Distance(place) < Reach) return place;
        var (code, _, _, value) = _reversed[place];
        return code == ReturnValue ? Return(value) : Add(JumpAlways, (uint)Distance(place));
    }

    internal int Jump(ushort comparison, uint value, int ifTrue, int ifFalse)
    {
        ifTrue = Near(ifTrue);
        ifFalse = Near(ifFalse);
        return Add(comparison, value, Distance(ifTrue), Distance(ifFalse));
    }

    internal int Load(uint offset, int then) => Follow(LoadWord, offset, then);

    internal int And(uint mask, int then) => Follow(AndImmediate, mask, then);

    private int Follow(ushort code, uint value, int then)
    {
        if (Distance(then) > 0) Add(JumpAlways, (uint)Distance(then));
        return Add(code, value);
    }

    internal byte[] ToBytes()
    {
        var bytes = new byte[_reversed.Count * 8];
        for (var i = 0; i < _reversed.Count; i++)
        {
            var (code, jumpTrue, jumpFalse, value) = _reversed[^(i + 1)];
            var record = bytes.AsSpan(i * 8, 8);
            BinaryPrimitives.WriteUInt16LittleEndian(record, code);
            record[2] = jumpTrue;
            record[3] = jumpFalse;
            BinaryPrimitives.WriteUInt32LittleEndian(record[4..], value);
        }
        return bytes;
    }
}
