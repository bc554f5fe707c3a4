namespace Berth.Api.Grpc;

/// <summary>RFC 9113, section 7: why a stream or a connection ends.</summary>
internal enum Http2Error
{
    None = 0,
    ProtocolError = 1,
    InternalError = 2,
    FlowControlError = 3,
    StreamClosed = 5,
    FrameSizeError = 6,
    RefusedStream = 7,
    Cancel = 8,
    CompressionError = 9,
    EnhanceYourCalm = 11,
}

/// <summary>A stream, or the whole connection, came to an end before its time.</summary>
internal sealed class Http2Exception(Http2Error error, string message, Exception? inner = null) : IOException(message, inner)
{
    public Http2Error Error => error;
}

/// <summary>RFC 9113, section 6.</summary>
internal enum FrameType : byte
{
    Data = 0,
    Headers = 1,
    Priority = 2,
    Reset = 3,
    Settings = 4,
    PushPromise = 5,
    Ping = 6,
    GoAway = 7,
    WindowUpdate = 8,
    Continuation = 9,
}

[Flags]
internal enum FrameFlags : byte
{
    None = 0,
    EndStream = 1,
    Acknowledge = 1,
    EndHeaders = 4,
    Padded = 8,
    Priority = 0x20,
}
