using System.Text;
using Berth.Api;

namespace Berth.Fast.Tests.Api;

public class StdFrameTests
{
    [Fact]
    public async Task What_is_framed_comes_out_on_its_stream_however_the_bytes_arrive()
    {
        var wire = new MemoryStream();
        var random = new Random(7);
        var (expectedOut, expectedErr) = (new MemoryStream(), new MemoryStream());
        for (var i = 0; i < 200; i++)
        {
            var payload = new byte[random.Next(0, i % 20 == 0 ? 100_000 : 50)];
            random.NextBytes(payload);
            var isError = random.Next(2) == 0;
            await StdFrame.WriteAsync(wire, isError ? StdStream.Stderr : StdStream.Stdout, payload);
            (isError ? expectedErr : expectedOut).Write(payload);
        }
        foreach (var piece in new[] { 1, 3, 8, 4096, int.MaxValue })
        {
            var (stdout, stderr) = (new MemoryStream(), new MemoryStream());
            await StdFrame.DemultiplexAsync(new PieceStream(wire.ToArray(), piece), stdout, stderr);
            Assert.Equal(expectedOut.ToArray(), stdout.ToArray());
            Assert.Equal(expectedErr.ToArray(), stderr.ToArray());
        }
    }

    [Fact]
    public void The_header_is_a_stream_three_zeros_and_a_big_endian_length()
    {
        var header = new byte[8];
        StdFrame.WriteHeader(header, StdStream.Stderr, 0x01020304);
        Assert.Equal([2, 0, 0, 0, 1, 2, 3, 4], header);
    }

    [Fact]
    public async Task An_error_frame_ends_the_stream_with_its_text()
    {
        var wire = new MemoryStream();
        await StdFrame.WriteAsync(wire, StdStream.Stdout, "a"u8.ToArray());
        await StdFrame.WriteAsync(wire, StdStream.SystemError, "it broke"u8.ToArray());
        var stdout = new MemoryStream();
        var error = await Assert.ThrowsAsync<EngineStreamException>(() => StdFrame.DemultiplexAsync(new MemoryStream(wire.ToArray()), stdout, Stream.Null));
        Assert.Equal("error from daemon in stream: it broke", error.Message);
        Assert.Equal("a", Encoding.UTF8.GetString(stdout.ToArray()));
    }

    [Theory]
    [InlineData(new byte[] { 9, 0, 0, 0, 0, 0, 0, 1 })]
    [InlineData(new byte[] { 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff })]
    public async Task What_is_no_frame_is_refused(byte[] bytes) =>
        await Assert.ThrowsAsync<InvalidDataException>(() => StdFrame.DemultiplexAsync(new MemoryStream(bytes), Stream.Null, Stream.Null));

    /// <summary>Gives at most so many bytes at a time.</summary>
    internal sealed class PieceStream(byte[] bytes, int piece) : MemoryStream(bytes)
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            base.ReadAsync(buffer[..Math.Min(buffer.Length, piece)], cancellationToken);
    }
}
