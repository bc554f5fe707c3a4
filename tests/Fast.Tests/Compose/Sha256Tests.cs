using System.Security.Cryptography;
using Berth.Compose.Model;

namespace Berth.Fast.Tests.Compose;

public sealed class Sha256Tests
{
    [Fact]
    public void Texts_of_all_lengths_have_the_hash_that_the_framework_gives_them()
    {
        var text = new byte[300];
        new Random(1).NextBytes(text);
        for (var length = 0; length <= text.Length; length++)
            Assert.Equal(SHA256.HashData(text.AsSpan(0, length)), Sha256.Hash(text.AsSpan(0, length)));
    }
}
