using Berth.Builder;
using Berth.Daemon.BuildKit;
using Berth.Daemon.Http;
using Berth.Engine;

namespace Berth.Daemon.Routes;

/// <summary>Every route of the daemon, in the order they are tried.</summary>
internal static class AllRoutes
{
    public static void Map(Router router, BerthEngine engine, BuildService builder, BuildKitServer buildKit)
    {
        SystemRoutes.Map(router, engine, builder);
        EventRoutes.Map(router, engine);
        ContainerRoutes.Map(router, engine);
        ArchiveRoutes.Map(router, engine);
        ExecRoutes.Map(router, engine);
        ImageRoutes.Map(router, engine);
        BuildRoutes.Map(router, engine, builder, buildKit);
        buildKit.Map(router);
        VolumeRoutes.Map(router, engine);
        NetworkRoutes.Map(router, engine);
        LaterRoutes.Map(router);
    }
}
